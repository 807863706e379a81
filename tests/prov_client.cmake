# Tests of prov_client.
