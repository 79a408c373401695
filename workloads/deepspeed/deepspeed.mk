.PHONY: test-deepspeed lock-deepspeed

test-deepspeed: setup ## real DeepSpeed on two ranks inside the trainer's image (needs root)
	@$(PY) -m pytest --durations=5 tests/workloads/deepspeed/image

# Python 3.13 is what Debian trixie has; the hashes of all files of a release suit other ones too.
lock-deepspeed: | $(UV) ## choose the trainer image's packages again
	@for file in requirements requirements.deepspeed requirements.data; do \
	  $(UV) pip compile --quiet --upgrade --no-deps --generate-hashes --no-header --no-annotate \
	    --python-version 3.13 --python-platform x86_64-manylinux_2_28 \
	    --exclude-newer "$$(date -u -d '7 days ago' +%F)" \
	    workloads/deepspeed/$$file.in --output-file workloads/deepspeed/$$file.txt; done
