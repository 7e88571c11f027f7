"""Beyond one machine: a cluster on the loopback gives the same counts and estimates, sends counts only, and outlives a worker."""

import threading
import time

import duckdb
import numpy as np
import pandas as pd
import pytest
from conftest import _needs, forget_spark

from crmlab import lifecycle, retention
from crmlab.course.rerun import plan as plans

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)  # pyspark's

ROWS, CUSTOMERS, DAYS = 400_000, 60_000, 60
# What the driver may receive of a job. The counts of this log take less, its stays or rows several times as much.
AT_MOST = "5m"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A log in many files, a folder for each month."""
    folder = tmp_path_factory.mktemp("partitioned")
    duckdb.sql(f"""
        copy (
            select (hash(3 * i) % {CUSTOMERS})::bigint as cust_no, date '2024-01-01' + (hash(3 * i + 1) % {DAYS})::int as "when",
                (1 + hash(3 * i + 2) % 100)::double as net, month(date '2024-01-01' + (hash(3 * i + 1) % {DAYS})::int) as part
            from range({ROWS}) numbers(i)
        ) to '{folder}' (format parquet, partition_by (part), row_group_size 20000, overwrite_or_ignore)""")
    return f"{folder}/*/*.parquet"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    _needs(["java"], "Java")
    try:
        import pyspark  # noqa: F401
    except ImportError:
        _needs([], "pyspark")
    from crmlab.course.cluster import Cluster

    forget_spark()
    with pytest.MonkeyPatch.context() as patch, Cluster(workers=2) as running:
        options = {
            "spark.driver.maxResultSize": AT_MOST,
            "spark.sql.files.maxPartitionBytes": "200k",  # several tasks a stage
            "spark.sql.files.openCostInBytes": "0",
            "spark.sql.shuffle.partitions": "4",
            "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
            "spark.executor.memory": "700m",
        }
        patch.setenv("PYSPARK_SUBMIT_ARGS", " ".join(f"--conf {k}={v}" for k, v in options.items()) + " pyspark-shell")
        yield running
        forget_spark()


@pytest.fixture(scope="module")
def opened(cluster, data, tmp_path_factory):
    """The same plan on the cluster and in this process."""
    columns = {"customer": "cust_no", "date": "when", "amount": "net"}
    out = str(tmp_path_factory.mktemp("out"))
    there = plans.Plan("02_lifecycle", data, columns, "week", out, cluster.address)
    connection, far = there.open()
    _, near = plans.Plan("02_lifecycle", data, columns, "week", out).open()
    yield connection, far, near
    connection._session.stop()


RULE = lifecycle.PhaseRule(silence_days=14, stable_days=40)


def test_counts_and_estimates_are_the_same_on_the_cluster(opened):
    _, far, near = opened
    pd.testing.assert_frame_equal(far.report(), near.report())
    there, here = (lifecycle.phase_episodes(log, rule=RULE, counted=True) for log in (far, near))
    pd.testing.assert_frame_equal(there, here)
    assert here["stays"].sum() > 3 * len(here) and "customer_id" not in here
    a, b = (lifecycle.fit_multistate(table).occupancy([4, 8], level=0.95) for table in (there, here))
    pd.testing.assert_frame_equal(a, b, rtol=1e-12)
    rules = [lifecycle.rule_sensitivity(log, RULE, horizon=6, within=3, silence_days=[14]) for log in (far, near)]
    pd.testing.assert_frame_equal(*rules, rtol=1e-12)
    for count in (
        lambda log: retention.repeat_share(log, at_least=2),
        lambda log: retention.cohort_triangle(log, "week"),
        lambda log: retention.compare_definitions(log, "week"),
    ):
        pd.testing.assert_frame_equal(count(far), count(near))


def test_only_counts_reach_the_driver(opened):
    # Spark itself stops a job whose results are larger: the test before ran within that bound, what is no count does not.
    connection, far, _ = opened
    assert connection._session.conf.get("spark.driver.maxResultSize") == AT_MOST
    for rows in (lambda: far.to_pandas(), lambda: lifecycle.phase_episodes(far, rule=RULE)):
        with pytest.raises(Exception, match="bigger than spark.driver.maxResultSize"):
            rows()


def test_a_worker_that_is_killed_changes_no_number(opened, cluster):
    connection, far, near = opened
    context = connection._session.sparkContext
    expected = lifecycle.phase_episodes(near, rule=RULE, counted=True)
    tracker = context.statusTracker()
    for _ in range(5):  # until it is seen in mid-run
        found = []
        work = threading.Thread(
            target=lambda found=found: found.append(lifecycle.phase_episodes(far, rule=RULE, counted=True))
        )
        work.start()
        seen = None
        while seen is None and work.is_alive():
            stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
            seen = next((s for s in stages if s and 1 <= s.numCompletedTasks < s.numTasks), None)
        if seen is not None:
            break
        work.join()
    assert seen is not None and work.is_alive()  # some of its tasks are done and some are not
    cluster.kill(0)
    work.join(300)
    assert not work.is_alive()
    pd.testing.assert_frame_equal(found[0], expected)
    until = time.monotonic() + 90
    while cluster.alive() != 1 and time.monotonic() < until:
        time.sleep(0.5)
    assert cluster.processes[1].poll() is not None and np.sum([p.poll() is None for p in cluster.processes]) == 2
