"""What a sequential migration costs: each object of an S3 bucket is downloaded whole and uploaded whole, one by one, by
boto3 and the service's own client. sequential_copy.py swift|abfs PREFIX prints the objects, bytes, seconds and the peak
of memory as JSON. Settings are those of the README.
"""
import json
import os
import resource
import sys
import time

import boto3
from botocore.config import Config

kind, prefix = sys.argv[1:]
setting = os.environ.__getitem__
s3 = boto3.client(
    's3', endpoint_url=setting('AWS_ENDPOINT_URL'), aws_access_key_id=setting('AWS_ACCESS_KEY_ID'),
    aws_secret_access_key=setting('AWS_SECRET_ACCESS_KEY'), region_name=setting('AWS_DEFAULT_REGION'),
    config=Config(s3={'addressing_style': 'path'}))
if kind == 'swift':
    import swiftclient
    swift = swiftclient.Connection(
        authurl=setting('OS_AUTH_URL') + '/v3', user=setting('OS_USERNAME'), key=setting('OS_PASSWORD'), auth_version='3',
        os_options={'project_name': setting('OS_PROJECT_NAME'), 'user_domain_name': 'Default',
                    'project_domain_name': 'Default'})

    def upload(name, body):
        swift.put_object(setting('OS_CONTAINER_NAME'), name, contents=body)
else:
    from azure.storage.blob import BlobServiceClient
    azure = BlobServiceClient(
        account_url=setting('AZURE_STORAGE_ENDPOINT'), credential={
            'account_name': setting('AZURE_ACCOUNT_NAME'), 'account_key': setting('AZURE_ACCOUNT_KEY')})

    def upload(name, body):
        container, blob = name.split('/', 1)
        azure.get_blob_client(container, blob).upload_blob(body, overwrite=True)

begun, objects, size = time.monotonic(), 0, 0
for page in s3.get_paginator('list_objects_v2').paginate(Bucket=setting('AWS_BUCKET'), Prefix=prefix):
    for entry in page.get('Contents', []):
        body = s3.get_object(Bucket=setting('AWS_BUCKET'), Key=entry['Key'])['Body'].read()
        upload(entry['Key'], body)
        objects, size = objects + 1, size + len(body)
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({'objects': objects, 'bytes': size, 'seconds': time.monotonic() - begun, 'peak_kib': peak_kib}))
