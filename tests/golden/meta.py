"""Writes meta.mat as the ILSVRC devkit has it, for the reader in pipeline/src/source/mat.rs.

Made with Python 3.11, numpy 2.4.6, scipy 1.17.1:  python meta.py
"""

import numpy as np
from scipy.io import savemat

fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children",
          "wordnet_height", "num_train_images"]
none = np.zeros((0, 0))
rows = [
    (1, "n02119789", "kit fox, Vulpes macrotis", "small grey fox", 0, none, 0, 1300),
    (2, "n02100735", "English setter", "an English breed", 0, none, 0, 1300),
    (3, "n02096294", "Australian terrier", "", 0, none, 0, 1043),
    (4, "n04404412", "t\u00e9l\u00e9vision", "a receiver", 0, none, 0, 732),
    (5, "n00001740", "entity", "that which is", 4, np.array([[1.0, 2.0, 3.0, 4.0]]), 19, 0),
]
synsets = np.empty((len(rows), 1), dtype=[(field, object) for field in fields])
for i, row in enumerate(rows):
    for field, value in zip(fields, row):
        synsets[field][i, 0] = np.float64(value) if isinstance(value, int) else value
savemat("meta.mat", {"cost_matrix": np.eye(4, dtype=np.uint8), "synsets": synsets},
        do_compression=True)
