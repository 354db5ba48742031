"""The detection server: infrared frames in over HTTP, detections out. FastAPI over `loddis_runtime`."""
