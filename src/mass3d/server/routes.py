"""The addresses that are answered; what they do stands in `site`."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from mass3d.errors import ConfigError, Mass3dError
from mass3d.server.jobs import KIND
from mass3d.server.refusal import Refused, status_of, told
from mass3d.server.site import Site
from mass3d.server.uploads import json_of, received, scratch
from mass3d.server.work import Work

PAGE: Final = Path(__file__).parent / "page"
NIFTI: Final = "application/octet-stream"
FOREVER: Final = {"cache-control": "private, max-age=31536000, immutable"}
Number = Annotated[int | None, Query(ge=0, le=10**9)]


class Sent(FileResponse):
    """A file that is sent in pieces large enough for volumes."""

    chunk_size = 2**20


def application(site: Site) -> FastAPI:
    """All routes of a server; who may use them is decided around it (`access`)."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    work = Work()
    for router in (_page(), _project(site, work), _data(site, work), _jobs(site, work)):
        app.include_router(router)
    app.add_exception_handler(Mass3dError, _ours)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_values)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _page() -> APIRouter:
    """The page and its files, which are listed once: nothing else can be named."""
    router = APIRouter()
    files = assets()

    @router.get("/")
    async def index() -> Response:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    @router.get("/assets/{name:path}")
    async def asset(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return FileResponse(files[name], media_type=kind, headers=FOREVER)

    return router


def assets() -> Mapping[str, Path]:
    """Name -> file of the page, of all that lie in its folder."""
    top = PAGE / "assets"
    found = (path for path in top.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(top).as_posix(): path for path in found}


def _project(site: Site, work: Work) -> APIRouter:
    """What is chosen, and the table."""
    router = APIRouter(prefix="/api")

    @router.get("/project")
    async def project() -> Response:
        return JSONResponse(await work.light(site.about))

    @router.put("/structures")
    async def structures(request: Request) -> Response:
        await work.heavy(site.set_structures, await json_of(request))
        return JSONResponse(await work.light(site.about))

    @router.get("/cases")
    async def cases(request: Request, round: Number = None) -> Response:  # noqa: A002
        body, tag = await work.light(site.cases, round)
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return Response(body, media_type="application/json", headers={"etag": tag})

    @router.put("/cases/{case_id}/reference")
    async def reference(case_id: str, request: Request) -> Response:
        asked = await json_of(request)
        use = asked.get("use") if isinstance(asked, dict) else None
        if not isinstance(use, bool):
            raise Refused(422, found="no use", expected='{"use": true} or false', fix="Say which.")
        await work.heavy(site.use_reference, case_id, use=use)
        return JSONResponse(await work.light(site.about))

    @router.get("/task.task")
    async def task() -> Response:
        return _attached(await work.light(site.task), "task.task")

    return router


def _data(site: Site, work: Work) -> APIRouter:
    """Pictures, scans and label maps."""
    router = APIRouter(prefix="/api/cases/{case_id}")

    @router.get("/thumbnail.jpg")
    async def thumbnail(case_id: str) -> Response:
        path = await work.heavy(site.thumbnail, case_id)
        return FileResponse(path, media_type="image/jpeg")

    @router.get("/image.nii")
    async def image(case_id: str, level: Literal["small", "full"] = "full") -> Response:
        made = (
            await work.heavy(site.volumes.small, case_id, also_full=True)
            if level == "small"
            else await work.heavy(site.volumes.full, case_id)
        )
        window = f"{made.window.low:g} {made.window.high:g}"
        return Sent(made.path, media_type=NIFTI, headers={"x-mass3d-window": window})

    @router.get("/labels.nii")
    async def labels(case_id: str, which: Literal["drawn", "found", "start"]) -> Response:
        return Sent(await work.heavy(site.label, case_id, which), media_type=NIFTI)

    @router.put("/labels")
    async def take(case_id: str, request: Request) -> Response:
        most = await work.light(site.most_bytes, case_id)
        with scratch(site.project.cache / "uploads") as folder:
            upload = folder / "label.nii"
            await received(request, upload, most, work)
            volumes = await work.heavy(site.take_label, case_id, upload, most)
        return JSONResponse({"volumes_ml": volumes})

    @router.delete("/labels")
    async def remove(case_id: str) -> Response:
        await work.light(site.remove_label, case_id)
        return JSONResponse(await work.light(site.about))

    @router.get("/result.nii.gz")
    async def result(case_id: str) -> Response:
        return _attached(await work.light(site.result, case_id), f"{case_id}.nii.gz")

    @router.get("/result.dcm")
    async def dicom(case_id: str) -> Response:
        try:
            return _attached(await work.heavy(site.dicom, case_id), f"{case_id}.dcm")
        except ConfigError as error:  # what writes it is not installed
            return JSONResponse(told(error), 409)

    return router


def _jobs(site: Site, work: Work) -> APIRouter:
    """What runs, and has run."""
    router = APIRouter(prefix="/api/jobs")

    @router.get("")
    async def jobs() -> Response:
        return JSONResponse(await work.light(site.jobs.all))

    @router.post("")
    async def start(request: Request) -> Response:
        asked = await json_of(request)
        try:
            kind = KIND.validate_python(asked.get("kind") if isinstance(asked, dict) else None)
        except ValidationError as error:
            raise Refused(
                422, found="another kind of job", expected="task, segment or both", fix="Say which."
            ) from error
        return await _job(await work.light(site.jobs.start, kind), status=202)

    @router.post("/{job_id}/cancel")
    async def cancel(job_id: int) -> Response:
        return await _job(await work.light(site.jobs.cancel, job_id))

    @router.post("/{job_id}/resume")
    async def resume(job_id: int) -> Response:
        return await _job(await work.light(site.jobs.resume, job_id))

    async def _job(job: Any, *, status: int = 200) -> Response:
        return JSONResponse(await work.light(site.jobs.told, job), status)

    return router


def _attached(path: Path, name: str) -> Response:
    return Sent(path, media_type=NIFTI, filename=name)


async def _ours(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, Mass3dError)
    return JSONResponse(told(error), status_of(error))


async def _of_http(request: Request, error: Exception) -> Response:
    del request
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _refused(status, found="an address or a way of asking that there is not")


async def _of_values(request: Request, error: Exception) -> Response:
    del request, error
    return _refused(422, found="a value in the address that cannot be")


async def _unexpected(request: Request, error: Exception) -> Response:
    """A fault of ours, told without what is inside."""
    del request
    return _refused(500, found=f"an unexpected {type(error).__name__}")


def _refused(status: int, *, found: str) -> Response:
    refused = Refused(status, found=found, expected="what the page asks", fix="Load it again.")
    return JSONResponse(told(refused), status)
