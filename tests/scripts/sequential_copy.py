"""What a migration by gwtm_cron's script costs at least: each object is downloaded whole and uploaded whole, one by one,
through s3fs, adlfs and swiftclient. Two things that the script does are left out: it downloads a hundred objects
beforehand to guess the size of all, and it logs in to Keystone anew for each upload to Swift.

sequential_copy.py swift|abfs PREFIX prints the objects, bytes, seconds and the peak of memory as JSON. Settings are those
in docs/settings.md.
"""
import json
import os
import resource
import sys
import time

import fsspec

kind, prefix = sys.argv[1:]
setting = os.environ.__getitem__
s3 = fsspec.filesystem(
    's3', key=setting('AWS_ACCESS_KEY_ID'), secret=setting('AWS_SECRET_ACCESS_KEY'),
    client_kwargs={'endpoint_url': setting('AWS_ENDPOINT_URL'), 'region_name': setting('AWS_DEFAULT_REGION')},
    config_kwargs={'s3': {'addressing_style': 'path'}})
if kind == 'swift':
    import swiftclient
    swift = swiftclient.Connection(
        authurl=setting('OS_AUTH_URL') + '/v3', user=setting('OS_USERNAME'), key=setting('OS_PASSWORD'), auth_version='3',
        os_options={'project_name': setting('OS_PROJECT_NAME'), 'user_domain_name': 'Default',
                    'project_domain_name': 'Default'})

    def upload(name, body):
        swift.put_object(setting('OS_CONTAINER_NAME'), name, contents=body)
else:
    azure = fsspec.filesystem('abfs', connection_string=';'.join([
        'DefaultEndpointsProtocol=http', 'AccountName=' + setting('AZURE_ACCOUNT_NAME'),
        'AccountKey=' + setting('AZURE_ACCOUNT_KEY'), 'BlobEndpoint=' + setting('AZURE_STORAGE_ENDPOINT')]))

    def upload(name, body):
        with azure.open(name, 'wb') as file:
            file.write(body)

begun, objects, size = time.monotonic(), 0, 0
bucket = setting('AWS_BUCKET')
for path in sorted(s3.ls(f'{bucket}/{prefix}', detail=False)):
    with s3.open(path) as file:
        body = file.read()
    upload(path.removeprefix(f'{bucket}/'), body)
    objects, size = objects + 1, size + len(body)
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({'objects': objects, 'bytes': size, 'seconds': time.monotonic() - begun, 'peak_kib': peak_kib}))
