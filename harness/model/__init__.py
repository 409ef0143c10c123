"""The only floor that imports torch: loading, ablation, the engines and head identification."""
