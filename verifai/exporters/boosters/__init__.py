"""Boosting libraries' own files: XGBoost, LightGBM, CatBoost. Read here, strictly; the libraries run for parity only."""
