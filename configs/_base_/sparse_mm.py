# What every config here needs: our classes registered, wherever the config is read (data-loader
# workers included).
custom_imports = dict(imports=['sparse_mm'], allow_failed_imports=False)
