.PHONY: up down images

up: setup ## a cluster with the chart installed; writes build/cluster.json
	@$(PY) -m e2e.clusters up

down: setup ## remove every process, mount, network and file that up made
	@$(PY) -m e2e.clusters down

images: setup ## build all images, and load them where the cluster runs
	@$(PY) -m e2e.clusters images
