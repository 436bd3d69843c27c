"""Reports: pure functions of rows and manifest. Nothing here needs torch."""
