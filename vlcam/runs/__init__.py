"""Explain many photos into a folder of Parquet files, and read such a folder."""
