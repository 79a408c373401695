"""Ranks that train over gloo find out which way they really use.

Holds: preamar_train/ranks/interconnect.py
"""


def test_ranks_tell_the_interface_that_their_connections_use(job):
    code, _, log = job.run(
        env={"PREAMAR_INTERCONNECT": "TCP", "PREAMAR_INTERCONNECT_MISMATCH": "Fail"}, steps=2
    )
    assert "interconnect: TCP meant, TCP found (lo 127.0.0.1)" in log
    assert code == 0
