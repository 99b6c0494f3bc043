"""Types of this package in files of skops."""

#: Types that ``skops.io.load`` finds in files with fitted estimators of this package and does not
#: know: what to pass as ``trusted``. All are made of arrays and plain values alone. The last one is
#: in searches. Files with a forest or with a module of the user contain others.
TRUSTED_TYPES = (
    "sklearn_kd.BatchedGridSearchCV",
    "sklearn_kd.DistilledClassifier",
    "sklearn_kd.DistilledRegressor",
    "sklearn_kd.KernelTeacher",
    "sklearn_kd.KernelTeacherRegressor",
    "sklearn_kd.ModuleClassifier",
    "sklearn_kd.ModuleRegressor",
    "sklearn_kd.SelfDistillClassifier",
    "sklearn_kd.TableEncoder",
    "sklearn_kd.TwoLayerPGDClassifier",
    "sklearn_kd.TwoLayerPGDRegressor",
    "sklearn.metrics._scorer._PassthroughScorer",
)
