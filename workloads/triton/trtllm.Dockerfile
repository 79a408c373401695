# The model server for format TensorRTLLM, from NVIDIA's Triton image with TensorRT-LLM: both, MPI and their
# CUDA libraries are tested together.
ARG BASE=nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3
FROM ${BASE}
ARG PIP_CERT
ARG SSL_CERT_FILE
COPY triton/requirements-gpu.txt triton/requirements-trtllm.txt /build/
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
      --only-binary :all: --target /opt/preamar/lib --requirement /build/requirements-gpu.txt
# Into the image's own packages: this one replaces one that is too old for TensorRT-LLM to be imported.
RUN PIP_CONSTRAINT= python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
      --only-binary :all: --requirement /build/requirements-trtllm.txt
# Last on the path, by a .pth file and not by PYTHONPATH: of numpy, protobuf and tokenizers TensorRT-LLM
# must find its own.
RUN echo /opt/preamar/lib > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/preamar.pth" \
 && printf '#!/bin/sh\nexec python3 -m preamar_model "$@"\n' > /usr/local/bin/preamar-model \
 && chmod 0755 /usr/local/bin/preamar-model \
 && mkdir -p /models /mnt/model && chown 1000:1000 /models
# TensorRT-LLM itself cannot be imported without the driver's library, which no build has.
RUN : "${CUDA_VERSION:?}" "${TRITON_SERVER_VERSION:?}" \
 && command -v mpirun trtllm-llmapi-launch \
 && python3 -c 'import importlib.metadata as m; print(m.version("tensorrt_llm"))' \
 && python3 -c 'from openai.types.responses.response_content_part_added_event import PartReasoningText'
LABEL dev.preamar.cuda="${CUDA_VERSION}" \
      dev.preamar.triton="${TRITON_SERVER_VERSION}"
# Models lie on disk; nothing is to be looked up elsewhere, and nobody is told of it.
ENV HF_HUB_OFFLINE=1 TRTLLM_NO_USAGE_STATS=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY common/preamar_storage /opt/preamar/lib/preamar_storage
COPY triton/preamar_model /opt/preamar/lib/preamar_model
RUN python3 -c 'import preamar_model.remote.fetch'
USER 1000:1000
EXPOSE 8000 8001 8002
ENTRYPOINT ["preamar-model"]
CMD ["serve"]
