from dataclasses import asdict, dataclass


@dataclass
class AsyncEngineArgs:
    model: str
    load_format: str = "auto"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    trust_remote_code: bool = False
    enable_expert_parallel: bool = False
    distributed_executor_backend: str | None = None
    nnodes: int = 1
    node_rank: int = 0
    master_addr: str = "127.0.0.1"
    master_port: int = 29501

    def create_engine_config(self, usage_context: object) -> "AsyncEngineArgs":
        return self

    def said(self) -> dict:
        """What all nodes must have been told alike, but for where they and their files are."""
        return asdict(self) | {"node_rank": None, "model": None}
