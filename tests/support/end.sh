# end PID...: ends processes that this shell started, the later ones first. swtpm 0.10.2 now and then goes on after SIGTERM, busy and
# deaf, so that a plain "kill and wait" would wait for ever.
end() {
  local i
  for ((i = $#; i > 0; i--)); do
    kill "${!i}" 2>/dev/null || continue
    for _ in $(seq 60); do kill -0 "${!i}" 2>/dev/null || break; sleep 0.05; done
    kill -KILL "${!i}" 2>/dev/null || true
    wait "${!i}" 2>/dev/null || true
  done
}
