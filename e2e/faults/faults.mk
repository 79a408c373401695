.PHONY: faults
SHARD ?= 1/1
MOST ?= 40

faults: setup ## crash the operator at its writes; writes build/faults.json (SHARD=i/n RESUME=1 MOST=n BUG=all)
	@$(PY) -m e2e.faults --shard $(SHARD) --most $(MOST) $(if $(RESUME),--resume) $(if $(BUG),--bug $(BUG))
