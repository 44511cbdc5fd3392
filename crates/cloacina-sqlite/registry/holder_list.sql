SELECT number, host, pid, process_started FROM holder WHERE place = ?1
