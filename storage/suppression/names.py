"""Earlier names of datasets, under which speech may have been withdrawn.

Lists hold digests of ids, and an id begins with the name of its dataset. After a dataset got another name, its ids are
looked up under the names that it had, too: in the lists that were written while the old name meant it. A list of a
later day means it too, unless another dataset has the old name then.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

Names = Mapping[str, Mapping[str, Sequence[str]]]
"""Earlier names of each dataset; for each of them the names of the suppression lists whose ids mean this dataset."""


def names_after(before: Names, renamed: Mapping[str, str], taken: Collection[str], lists: Sequence[str]) -> Names:
    """Earlier names of datasets after some got another name.

    Args:
        before: the earlier names so far.
        renamed: new names of datasets by their old ones; what is known already may be stated again.
        taken: names that datasets have now.
        lists: names of all suppression lists.
    """
    made: dict[str, dict[str, Sequence[str]]] = {}
    for dataset, names in before.items():
        made.setdefault(renamed.get(dataset, dataset), {}).update(names)
    for old, new in renamed.items():
        made.setdefault(new, {}).setdefault(old, lists)
    return {
        dataset: {old: known if old in taken else [*lists] for old, known in sorted(names.items()) if old != dataset}
        for dataset, names in sorted(made.items())
        if names.keys() - {dataset}
    }


def under(name: str, dataset: str) -> str:
    """An id under another name of its dataset."""
    return f"{dataset}/{name.partition('/')[2]}"


def known_names(ids: Iterable[str], new_names: Mapping[str, str]) -> set[str]:
    """Ids, and what they are under other names of their datasets.

    Args:
        ids: the ids.
        new_names: names that datasets have now, by their earlier ones.
    """
    found = set(ids)
    for name in ids:
        dataset = name.partition("/")[0]
        now = new_names.get(dataset, dataset)
        others = {now, *(old for old, new in new_names.items() if new == now)} - {dataset}
        found |= {under(name, other) for other in others}
    return found
