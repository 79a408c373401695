# The trainer on NVIDIA GPUs, from NVIDIA's PyTorch image: its CUDA, cuDNN and NCCL are tested
# together, and what it holds is written into the labels.
ARG BASE=nvcr.io/nvidia/pytorch:25.08-py3
FROM ${BASE}
ARG PIP_CERT
ARG SSL_CERT_FILE
COPY deepspeed/requirements.txt deepspeed/requirements.deepspeed.txt deepspeed/requirements.data.txt /build/
# Kernels are compiled here, for these architectures, because a pod's root is read-only.
ARG TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9;9.0;10.0"
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement /build/requirements.txt \
      --requirement /build/requirements.data.txt \
 && DS_BUILD_FUSED_ADAM=1 DS_BUILD_CPU_ADAM=1 MAX_JOBS=4 pip install --no-cache-dir --require-hashes \
      --no-deps --no-build-isolation --requirement /build/requirements.deepspeed.txt
RUN printf '#!/bin/sh\nexec python -m preamar_train "$@"\n' > /usr/local/bin/preamar-train \
 && chmod +x /usr/local/bin/preamar-train \
 && mkdir -p /mnt/data /mnt/checkpoint /mnt/export
# The base image says its versions in its environment; a label without one would mislead.
RUN : "${CUDA_VERSION:?}" "${CUDA_DRIVER_VERSION:?}" "${CUDNN_VERSION:?}" "${NCCL_VERSION:?}" "${TRT_VERSION:?}"
LABEL dev.preamar.cuda="${CUDA_VERSION}" \
      dev.preamar.driver="${CUDA_DRIVER_VERSION}" \
      dev.preamar.cudnn="${CUDNN_VERSION}" \
      dev.preamar.nccl="${NCCL_VERSION}" \
      dev.preamar.tensorrt="${TRT_VERSION}"
ENV PYTHONPATH=/opt/preamar PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    DS_ACCELERATOR=cuda HOME=/tmp USER=preamar XDG_CACHE_HOME=/tmp/.cache \
    TORCH_EXTENSIONS_DIR=/tmp/.cache/torch_extensions TRITON_CACHE_DIR=/tmp/.cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/tmp/.cache/inductor
COPY deepspeed/sitecustomize.py /opt/preamar/
COPY common/preamar_storage /opt/preamar/preamar_storage
COPY deepspeed/preamar_train /opt/preamar/preamar_train
USER 1000:1000
ENTRYPOINT ["preamar-train"]
CMD ["agent"]
