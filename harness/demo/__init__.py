"""The embedded world: generated filings and a small trained model that answers questions about them."""

from pathlib import Path

MODEL_FOLDER = Path(__file__).parent / "model"
"""The trained model: a checkpoint folder like any other."""

RANKING_FILE = MODEL_FOLDER / "retrieval_heads.json"
"""Its heads, ranked by `retrieval-heads identify`."""
