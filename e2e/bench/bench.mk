.PHONY: bench

bench: setup ## the benchmarks; some need the cluster of `make up`. NAMES="scaling" for some, TRACES="F.csv" for loads of your own
	@PREAMAR_TRACES="$(TRACES)" nice -n 5 $(PY) -m e2e.bench $(NAMES)
