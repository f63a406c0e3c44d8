<?php
// The twin of examples/hello.py: the same head, the same bytes.
$body = "Hello from pyfpm! You asked for " . $_SERVER["DOCUMENT_URI"] . "\n";
header("Content-Type: text/plain; charset=utf-8");
header("Content-Length: " . strlen($body));
echo $body;
