"""A client of Eclipse Paho for tests: subscribes, publishes the lines of stdin, prints what it gets.

Prints "session 0" or "session 1" first, then one line "TOPIC PAYLOAD" for each message, and ends after --count of them.
"""
import argparse
import sys
import threading

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
connected, subscribed, done = threading.Event(), threading.Event(), threading.Event()
received = 0


def on_connect(_client, _data, flags, code):
    if code != 0:
        sys.exit('CONNACK %d' % code)
    print('session %d' % flags['session present'], flush=True)
    connected.set()


def on_subscribe(_client, _data, _message_id, granted):
    if granted[0] != 1:
        sys.exit('granted %d' % granted[0])
    subscribed.set()


def on_message(_client, _data, message):
    global received
    print(message.topic, message.payload.decode(), flush=True)
    received += 1
    if received == options.count:
        done.set()


client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.connect('127.0.0.1', options.port, keepalive=60)
client.loop_start()
connected.wait()
if options.subscribe:
    client.subscribe(options.subscribe, qos=1)
    subscribed.wait()
if options.publish:
    for published in [client.publish(options.publish, line.rstrip('\n'), qos=1) for line in sys.stdin]:
        published.wait_for_publish()
if options.count:
    done.wait()
client.disconnect()
client.loop_stop()
