"""The benchmark: predict, measure, rank."""

import models as models  # before torch, whose threads it sets up
