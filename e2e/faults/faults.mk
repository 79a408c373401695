.PHONY: faults faults-operator
SHARD ?= 1/1
MOST ?= 40

faults: faults-operator faults-training faults-money faults-gateway ## hours: every part killed wherever it may die, one part after another

faults-operator: setup ## crash the operator at its writes; writes build/faults-operator.json (SHARD=i/n RESUME=1 MOST=n BUG=all)
	@$(PY) -m e2e.faults --shard $(SHARD) --most $(MOST) $(if $(RESUME),--resume) $(if $(BUG),--bug $(BUG))

.PHONY: faults-money
POINTS ?= 520
faults-money: setup ## kill gateways at their ledger's file operations; writes build/faults-money.json (SHARD POINTS PHASES BUG; needs root)
	@$(PY) -m e2e.faults.money --shard $(SHARD) --points $(POINTS) $(if $(PHASES),--phases $(PHASES)) $(if $(BUG),--bug $(BUG))

.PHONY: faults-training
RANKS ?= 1
faults-training: setup ## kill a training rank at each file operation of a checkpoint (SHARD RANKS RESUME MOST BUG; needs root)
	@$(PY) -m e2e.faults.checkpoints --shard $(SHARD) --ranks $(RANKS) $(if $(filter command line,$(origin MOST)),--most $(MOST)) $(if $(RESUME),--resume) $(if $(BUG),--bug $(BUG))

.PHONY: faults-gateway
faults-gateway: setup ## restarts, deaths and overload under load; writes build/faults-gateway.json (PHASES=R11,R12,R13 ROUNDS=50)
	@$(PY) -m e2e.faults.gateway $(if $(PHASES),--phases $(PHASES)) $(if $(ROUNDS),--rounds $(ROUNDS))
