"""An engine that does what it is told: a line in is `<connection>\t<SQL>`, a line out `@<connection>\tok\t<value>` or `@<connection>\terror\t<why>`.

SQL that begins with `?` is a query of one value. Every connection is a thread of its own.
"""

import os
import queue
import sys
import threading

import duckdb


def say(text):
    os.write(1, (text + "\n").encode())


def serve(number, connection, tasks):
    while (sql := tasks.get()) is not None:
        try:
            done = connection.execute(sql.lstrip("?"))
            value = done.fetchone()[0] if sql.startswith("?") else ""
            say(f"@{number}\tok\t{value}")
        except Exception as error:
            try:
                connection.execute("ROLLBACK")
            except Exception:
                pass
            say(f"@{number}\terror\t{' '.join(str(error).split())}")


try:
    database = duckdb.connect(sys.argv[1])
except Exception as error:
    say(f"@refused\t{' '.join(str(error).split())}")
    sys.exit(1)
threads = {}
say("@ready")
for line in sys.stdin:
    number, sql = line.rstrip("\n").split("\t", 1)
    if number not in threads:
        tasks = queue.Queue()
        thread = threading.Thread(target=serve, args=(number, database.cursor(), tasks))
        thread.start()
        threads[number] = (thread, tasks)
    threads[number][1].put(sql)
for thread, tasks in threads.values():
    tasks.put(None)
    thread.join()
database.close()
