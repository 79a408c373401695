"""From the models to what the API server accepts: ``python -m preamar.api.crd``."""
