.PHONY: faults
SHARD ?= 0/1

faults: setup ## crash the operator at every write; writes build/faults.json (SHARD=i/n RESUME=1 BUG=all)
	@$(PY) -m e2e.faults --shard $(SHARD) $(if $(RESUME),--resume) $(if $(BUG),--bug $(BUG))
