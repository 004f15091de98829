"""OpenStack Swift in two processes: serve_swift.py FOLDER PORT KEYSTONE_PORT MEMCACHED_PORT ACCOUNT CONTAINER OBJECT

Makes one disk and its rings in FOLDER, then serves the proxy on 127.0.0.1:PORT, with log-in by Keystone, and in a process
of their own, which ends with this one, the account, container and object servers on the last three ports.
"""
import ctypes
import os
import signal
import sys

import eventlet
from swift.common import utils

folder = sys.argv[1]
port, keystone, memcached, *servers = map(int, sys.argv[2:])
os.makedirs(f'{folder}/disks/d1')


def write(name, text):
    with open(f'{folder}/{name}', 'w') as file:
        file.write(text)


write('swift.conf', '''[swift-hash]
swift_hash_path_suffix = suffix
swift_hash_path_prefix = prefix
[storage-policy:0]
name = one
default = yes
''')
common = f'''[DEFAULT]
swift_dir = {folder}
devices = {folder}/disks
mount_check = false
bind_ip = 127.0.0.1
workers = 0
user = {utils.pwd.getpwuid(os.getuid()).pw_name}
db_preallocation = off
fallocate_reserve = 0
log_level = WARNING
'''
proxy = '''[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats authtoken keystoneauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 1
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = http://127.0.0.1:{keystone}/v3
auth_url = http://127.0.0.1:{keystone}/v3
auth_type = password
username = swift
password = swift
user_domain_id = default
project_name = service
project_domain_id = default
delay_auth_decision = true
cache = swift.cache
include_service_catalog = false
service_token_roles_required = true
[filter:keystoneauth]
use = egg:swift#keystoneauth
reseller_prefix = AUTH_
operator_roles = admin, member
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
'''.format(memcached=memcached, keystone=keystone)
write('proxy-server.conf', f'{common}bind_port = {port}\n{proxy}')

# Limits and storage policies are read once, when the modules below are first imported.
utils.SWIFT_CONF_FILE = f'{folder}/swift.conf'
utils.validate_configuration()
from swift.common import wsgi  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402

kinds = ['account', 'container', 'object']
for kind, own_port in zip(kinds, servers):
    write(f'{kind}-server.conf', f'{common}bind_port = {own_port}\n[pipeline:main]\npipeline = {kind}-server\n'
          f'[app:{kind}-server]\nuse = egg:swift#{kind}\n')
    ring = RingBuilder(4, 1, 1)
    ring.add_dev({'region': 1, 'zone': 1, 'ip': '127.0.0.1', 'port': own_port, 'device': 'd1', 'weight': 1.0})
    ring.rebalance()
    ring.get_ring().save(f'{folder}/{kind}.ring.gz')

here = ['proxy']
if os.fork() == 0:
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    here = kinds

# A server asks for a hub by name, which would replace the one that the green threads live on.
use_hub = eventlet.hubs.use_hub
use_hub(wsgi.get_hub())
eventlet.hubs.use_hub = lambda name=None: None if name else use_hub()
utils.monkey_patch()
threads = []
for kind in here:
    conf, logger, global_conf, strategy = wsgi.check_config(
        f'{folder}/{kind}-server.conf', f'{kind}-server', log_to_console=True, verbose=True)
    threads.append(eventlet.spawn(
        wsgi.run_server, conf, logger, strategy.no_fork_sock(), global_conf=global_conf))
for thread in threads:
    thread.wait()
