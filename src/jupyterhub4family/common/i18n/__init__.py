"""Any identity: sentences in the language of whoever reads them."""
