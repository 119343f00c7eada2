"""Measuring: data sets, measures, baselines, significance, reports."""
