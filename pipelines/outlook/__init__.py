"""What a build would do, before it is done."""
