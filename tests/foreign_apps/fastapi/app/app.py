"""Files and a slow count, with FastAPI; a2wsgi makes a WSGI application of it."""

import asyncio
import os
from pathlib import Path

from a2wsgi import ASGIMiddleware
from fastapi import Depends, FastAPI, HTTPException, UploadFile
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.security import HTTPBasic

api = FastAPI()


def check(sent=Depends(HTTPBasic())):
    if sent.password != os.environ["API_PASSWORD"]:
        raise HTTPException(403)


@api.post("/files", status_code=201, dependencies=[Depends(check)])
async def post(file: UploadFile):
    Path("/data", file.filename).write_bytes(await file.read())


@api.get("/files/{name}")
async def get(name: str):
    return FileResponse(f"/data/{name}")


@api.get("/count")
async def count(to: int):
    async def numbers():
        for number in range(to):
            await asyncio.sleep(0.01)
            yield f"{number}\n"

    return StreamingResponse(numbers())


app = ASGIMiddleware(api)
