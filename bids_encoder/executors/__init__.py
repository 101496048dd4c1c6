"""Where features, kernels and fits are computed: in this process, or by a Dask cluster."""
