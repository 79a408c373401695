from enum import StrEnum


class UsageContext(StrEnum):
    ENGINE_CONTEXT = "ENGINE_CONTEXT"
