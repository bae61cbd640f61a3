"""Rows of data sets as what the API answers."""

from collections.abc import Sequence

from app.datasets.schemas import DatasetItem, DatasetOut, DatasetPage, SourceOut
from core.states import DatasetState
from models_store.tables import Dataset


def dataset_url(name: str) -> str:
    """Where a data set stands."""
    return f"/datasets/{name}"


def dataset_item(dataset: Dataset) -> DatasetItem:
    """A data set in a list."""
    return DatasetItem(
        name=dataset.name,
        state=dataset.state,
        num_images=(dataset.summary or {}).get("num_images"),
        created_at=dataset.created_at,
        links=_links(dataset),
    )


def dataset_out(dataset: Dataset) -> DatasetOut:
    """A data set with everything."""
    return DatasetOut(
        **dict(dataset_item(dataset)),
        labels=dataset.labels,
        counts=(dataset.summary or {}).get("counts"),
        summary=dataset.summary,
        problem=dataset.problem,
        sources=[
            SourceOut(split=source.split, sha256=source.sha256, size_bytes=source.size_bytes, path=source.path)
            for source in dataset.sources
        ],
    )


def dataset_page(datasets: Sequence[Dataset], limit: int) -> DatasetPage:
    """A page of data sets; `datasets` holds one more than fits if there is a next page."""
    items, after = datasets[:limit], None
    if len(datasets) > limit:
        after = f"/datasets?limit={limit}&after={items[-1].id}"
    return DatasetPage(items=[dataset_item(dataset) for dataset in items], next=after)


def _links(dataset: Dataset) -> dict[str, str]:
    here = dataset_url(dataset.name)
    if dataset.state != DatasetState.DRAFT:
        return {"self": here}
    return {"self": here, "content": f"{here}/content", "seal": f"{here}/seal"}
