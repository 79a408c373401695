# The model server for format VLLM, from NVIDIA's Triton image with vLLM: both and their CUDA libraries
# are tested together.
ARG BASE=nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3
FROM ${BASE}
ARG PIP_CERT
ARG SSL_CERT_FILE
COPY triton/requirements-gpu.txt /build/
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
      --only-binary :all: --target /opt/preamar/lib --requirement /build/requirements-gpu.txt
# Last on the path, by a .pth file and not by PYTHONPATH: of numpy, protobuf and tokenizers vLLM must
# find its own.
RUN echo /opt/preamar/lib > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/preamar.pth" \
 && printf '#!/bin/sh\nexec python3 -m preamar_model "$@"\n' > /usr/local/bin/preamar-model \
 && chmod 0755 /usr/local/bin/preamar-model \
 && mkdir -p /models /mnt/model && chown 1000:1000 /models
RUN : "${CUDA_VERSION:?}" "${TRITON_SERVER_VERSION:?}" && python3 -c 'import vllm' \
 && python3 -c 'import importlib.util as u; assert u.find_spec("vllm.entrypoints.cli.main")'
LABEL dev.preamar.cuda="${CUDA_VERSION}" \
      dev.preamar.triton="${TRITON_SERVER_VERSION}"
# Models lie on disk; nothing is to be looked up elsewhere, and nobody is told of it.
ENV HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY common/preamar_storage /opt/preamar/lib/preamar_storage
COPY triton/preamar_model /opt/preamar/lib/preamar_model
RUN python3 -c 'import preamar_model.remote.fetch'
USER 1000:1000
EXPOSE 8000 8001 8002
ENTRYPOINT ["preamar-model"]
CMD ["serve"]
