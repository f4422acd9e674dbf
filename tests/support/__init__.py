"""Stand-ins that tests share: small models, saved folders, layouts of data sets, explanations, a browser."""
