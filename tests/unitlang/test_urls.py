import pytest

from unitlang.urls import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:pw@h/a.wav", "https://***@h/a.wav"),
        ("https://tok@h/a", "https://***@h/a"),
        ("http://u:p@ss@h/a", "http://***@h/a"),
        ("http://u:p/w@h/a", "http://***@h/a"),
        ("h://a?X-Amz-Credential=AK%2F&X-Amz-Signature=abc&n=1", "h://a?X-Amz-Credential=***&X-Amz-Signature=***&n=1"),
        ("http://h/a?AWSAccessKeyId=1&Signature=2", "http://h/a?AWSAccessKeyId=***&Signature=***"),
        ("http://h/a?sv=1&sig=abc", "http://h/a?sv=1&sig=***"),
        ("http://h/a?%73ig=abc", "http://h/a?%73ig=***"),
        ("http://h/a?accessToken=abc&x=1", "http://h/a?accessToken=***&x=1"),
        ("http://h/a#access_token=1", "http://h/a#access_token=***"),
        ("http://h/a;jsessionid=12", "http://h/a;jsessionid=***"),
        (
            "cannot read http://a:b@c/x: 503, nor http://h/p?token=1",
            "cannot read http://***@c/x: 503, nor http://h/p?token=***",
        ),
    ],
)
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://h:80/a@b.wav",
        "http://[::1]:80/a@b.wav",
        "s3://bucket/a@b.wav",
        "hf://datasets/x/y@main/z",
        "http://h/a?author=x&design=7&monkey=1",
        "/plain?sig=1",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text
