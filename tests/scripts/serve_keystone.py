"""Keystone in one process: serve_keystone.py FOLDER PORT SWIFT_PORT TOKEN_SECONDS

Makes a new database in FOLDER with Swift's endpoint and three users, then serves it on 127.0.0.1:PORT:

    swift / swift        how Swift asks about tokens (project `service`)
    listener / listener  a member of the project `alerts`
    stranger / stranger  of the same project, without a role that Swift accepts
"""
import base64
import contextlib
import os
import sqlite3
import sys
import uuid

folder, port, swift_port, token_seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
sys.argv = ['keystone']  # which oslo.config reads
for keys in ('fernet', 'credential'):
    os.makedirs(f'{folder}/{keys}', mode=0o700)
    for name in '01':
        with open(f'{folder}/{keys}/{name}', 'wb') as file:
            os.chmod(file.name, 0o600)
            file.write(base64.urlsafe_b64encode(os.urandom(32)))
settings = f'{folder}/keystone.conf'
with open(settings, 'w') as file:
    # Passwords are hashed as cheaply as bcrypt can, and a token ends when it says so. The database
    # waits for no disk.
    file.write(f'''[database]
connection = sqlite:///{folder}/keystone.db
sqlite_synchronous = false
[token]
expiration = {token_seconds}
allow_expired_window = 0
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = false
''')
os.environ['OS_KEYSTONE_CONFIG_FILES'] = settings

from keystone.wsgi.api import application  # noqa: E402
from keystone.cmd.bootstrap import Bootstrapper  # noqa: E402
from keystone.common import provider_api, sql  # noqa: E402
from keystone.server import backends  # noqa: E402
import waitress  # noqa: E402

with sql.session_for_write() as session:
    # Before this transaction touches the file, which would lock it.
    sql.ModelBase.metadata.create_all(session.get_bind())
# Readers and a writer do not lock each other out.
with contextlib.closing(sqlite3.connect(f'{folder}/keystone.db')) as database:
    database.execute('PRAGMA journal_mode = WAL')

backends.load_backends = dict  # the application has loaded them, and they load once
start = Bootstrapper()
start.admin_username = start.admin_password = start.project_name = start.admin_role_name = 'admin'
start.service_name, start.region_id = 'keystone', 'RegionOne'
start.public_url = start.internal_url = start.admin_url = f'http://127.0.0.1:{port}/v3'
start.bootstrap()

api = provider_api.ProviderAPIs
service = uuid.uuid4().hex
api.catalog_api.create_service(
    service, {'id': service, 'type': 'object-store', 'name': 'swift', 'enabled': True})
endpoint = uuid.uuid4().hex
api.catalog_api.create_endpoint(endpoint, {
    'id': endpoint, 'service_id': service, 'region_id': 'RegionOne', 'interface': 'public', 'enabled': True,
    'url': f'http://127.0.0.1:{swift_port}/v1/AUTH_%(project_id)s'})


def project(name):
    made = uuid.uuid4().hex
    api.resource_api.create_project(
        made, {'id': made, 'name': name, 'domain_id': 'default', 'enabled': True, 'description': ''})
    return made


def user(name, project_id, *roles):
    made = api.identity_api.create_user(
        {'name': name, 'password': name, 'domain_id': 'default', 'enabled': True})
    for role in roles:
        api.assignment_api.add_role_to_user_and_project(made['id'], project_id, role)


user('swift', project('service'), start.admin_role_id, start.service_role_id)
alerts = project('alerts')
user('listener', alerts, start.member_role_id)
user('stranger', alerts, start.service_role_id)
waitress.serve(application, host='127.0.0.1', port=port, threads=8)
