"""Clusters: which filings belong together, because one company, one submission or one text is behind them.

Filings of one CIK (the registrant's number at the SEC), of one accession number (a parent and its subsidiary may file
one report together) or of equal text are joined, and what is joined to either of two joins both. A company that files
under a new number is another cluster. Knows nothing about rows.
"""

from collections.abc import Sequence

from harness.retrieval.filings.filing import Filing


def clusters_of(filings: Sequence[Filing]) -> dict[str, str]:
    """Each filing's cluster, by the filing's name: the lowest CIK in the cluster, else its first filing's name."""
    root = list(range(len(filings)))

    def find(index: int) -> int:
        while root[index] != index:
            index = root[index]
        return index

    first_with: dict[tuple[str, str], int] = {}
    for index, filing in enumerate(filings):
        marks = (("cik", filing.cik), ("accession", filing.accession), ("text", filing.text_hash()))
        for kind, mark in marks:
            if mark is not None:
                other = first_with.setdefault((kind, mark), index)
                low, high = sorted((find(index), find(other)))
                root[high] = low
    names: dict[int, str] = {}
    for index in range(len(filings)):
        group = [each for each in range(len(filings)) if find(each) == find(index)]
        ciks = sorted(int(cik) for each in group if (cik := filings[each].cik) is not None)
        names[index] = str(ciks[0]) if ciks else filings[group[0]].name
    return {filing.name: names[index] for index, filing in enumerate(filings)}
