from pipelines.runs.importers.guide import FormatGuide
GUIDE = FormatGuide(title="x",reads="x",versions="x",recognised_by="x",how_to="x",fields=())
