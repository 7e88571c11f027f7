"""What the measures of loyalty ask of a table of customers."""

import pandas as pd


def each_once(customers, where=""):
    """Refuse a table in which a customer stands twice, with the names of the first three."""
    customers = pd.Index(customers)
    twice = customers[customers.duplicated()]
    if len(twice):
        raise ValueError(
            f"{where}{len(twice)} rows repeat a customer ({', '.join(map(str, twice.unique()[:3]))}). Fix: one row a customer."
        )
