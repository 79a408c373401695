# The model server on NVIDIA GPUs, from NVIDIA's Triton image: its server, its backends and their CUDA
# libraries are tested together, and what it holds is written into the labels.
ARG BASE=nvcr.io/nvidia/tritonserver:26.07-py3
FROM ${BASE}
ARG PIP_CERT
ARG SSL_CERT_FILE
COPY triton/requirements-gpu.txt /build/
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
      --only-binary :all: --target /opt/preamar/lib --requirement /build/requirements-gpu.txt
# TensorRT's bindings for Python, of the very version whose libraries the base image holds: a hash would
# tie them to one base image. `preamar-model optimize` builds engines with them.
RUN : "${TRT_VERSION:?}" "${CUDA_VERSION:?}" \
 && python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --only-binary :all: \
      --target /opt/preamar/lib "tensorrt-cu${CUDA_VERSION%%.*}-bindings==${TRT_VERSION%%+*}"
RUN printf '#!/bin/sh\nexec python3 -m preamar_model "$@"\n' > /usr/local/bin/preamar-model \
 && chmod 0755 /usr/local/bin/preamar-model \
 && mkdir -p /models /mnt/model && chown 1000:1000 /models
# The base image says its versions in its environment; a label without one would mislead.
RUN : "${CUDA_VERSION:?}" "${CUDA_DRIVER_VERSION:?}" "${CUDNN_VERSION:?}" "${NCCL_VERSION:?}" \
      "${TRT_VERSION:?}" "${TRITON_SERVER_VERSION:?}"
LABEL dev.preamar.cuda="${CUDA_VERSION}" \
      dev.preamar.driver="${CUDA_DRIVER_VERSION}" \
      dev.preamar.cudnn="${CUDNN_VERSION}" \
      dev.preamar.nccl="${NCCL_VERSION}" \
      dev.preamar.tensorrt="${TRT_VERSION}" \
      dev.preamar.triton="${TRITON_SERVER_VERSION}"
ENV PYTHONPATH=/opt/preamar/lib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY common/preamar_storage /opt/preamar/lib/preamar_storage
COPY triton/preamar_model /opt/preamar/lib/preamar_model
USER 1000:1000
EXPOSE 8000 8001 8002
ENTRYPOINT ["preamar-model"]
CMD ["serve"]
