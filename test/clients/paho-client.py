"""A client of Eclipse Paho for tests: subscribes, publishes the lines of stdin, prints what it gets.

Prints "session 0" or "session 1" first, then one line "TOPIC PAYLOAD" for each message, and ends after --count of them.
"""
import argparse
import sys

import paho.mqtt.client as mqtt

parser = argparse.ArgumentParser()
parser.add_argument('--port', type=int, required=True)
parser.add_argument('--id', required=True)
parser.add_argument('--token', required=True)
parser.add_argument('--subscribe', help='filter; without it the session is trusted to have one')
parser.add_argument('--publish', help='topic for the lines of stdin')
parser.add_argument('--count', type=int, default=0, help='messages to wait for')
options = parser.parse_args()

settings = {'client_id': options.id, 'clean_session': False, 'protocol': mqtt.MQTTv311}
if hasattr(mqtt, 'CallbackAPIVersion'):  # Paho 2 wants to be told that these callbacks are those of Paho 1.
    settings['callback_api_version'] = mqtt.CallbackAPIVersion.VERSION1
client = mqtt.Client(**settings)
client.username_pw_set(options.id, options.token)
connected, granted, received = [], [], []


def on_connect(_client, _data, flags, code):
    if code != 0:
        sys.exit('CONNACK %d' % code)
    print('session %d' % flags['session present'], flush=True)
    connected.append(code)


def on_message(_client, _data, message):
    print(message.topic, message.payload.decode(), flush=True)
    received.append(message)
    if len(received) == options.count:
        client.disconnect()


def work_until(is_done):
    while not is_done():
        code = client.loop(timeout=1)
        if code != mqtt.MQTT_ERR_SUCCESS and not is_done():
            sys.exit(mqtt.error_string(code))


client.on_connect, client.on_message = on_connect, on_message
client.on_subscribe = lambda _client, _data, _message_id, codes: granted.extend(codes)
client.connect('127.0.0.1', options.port, keepalive=60)
work_until(lambda: connected)
if options.subscribe:
    client.subscribe(options.subscribe, qos=1)
    work_until(lambda: granted)
    if granted[0] != 1:
        sys.exit('granted %d' % granted[0])
if options.publish:
    published = [client.publish(options.publish, line.rstrip('\n'), qos=1) for line in sys.stdin]
    work_until(lambda: all(info.is_published() for info in published))
if options.count:
    work_until(lambda: len(received) >= options.count)
else:
    client.disconnect()
