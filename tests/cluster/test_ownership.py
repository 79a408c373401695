"""Which fields changed? One walk over both says what asking for each field says.

Holds: cluster/ownership.py
"""

from hypothesis import example, given
from hypothesis import strategies as st

from preamar.cluster.ownership import changed, differs, leaves

PLAIN = st.none() | st.sampled_from([True, "", "a", 1])
PARTS = {"value": PLAIN, "args": st.lists(PLAIN, max_size=2)}
NAMED = st.fixed_dictionaries({"name": st.just("a")}, optional=PARTS)
NAMELESS = st.just({}) | st.fixed_dictionaries({}, optional=PARTS)
# A list which is merged by its items' names, unless two are the same or one is no map.
KEYED = st.lists(NAMED | NAMELESS, max_size=2) | st.tuples(NAMED, PLAIN).map(list)
VALUES = KEYED | PLAIN | st.dictionaries(st.sampled_from(["env", "x"]), PLAIN | KEYED)
OBJECTS = st.fixed_dictionaries({"env": KEYED}, optional={"spec": VALUES})


@given(OBJECTS, OBJECTS)
@example({"env": [{"value": 1}]}, {"env": [{}]})
def test_one_walk_finds_what_asking_for_each_field_finds(before, after):
    asked = {path for path in leaves(after) if differs(before, after, path)}
    assert set(changed(before, after)) == asked


@given(OBJECTS)
def test_nothing_changed_in_an_object_like_itself(one):
    assert not list(changed(one, one))
