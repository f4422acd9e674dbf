"""A local web app for one photo at a time (extra ``app``)."""
