from dataclasses import dataclass


@dataclass
class AsyncEngineArgs:
    model: str
    load_format: str = "auto"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    trust_remote_code: bool = False

    def create_engine_config(self, usage_context: object) -> "AsyncEngineArgs":
        return self
