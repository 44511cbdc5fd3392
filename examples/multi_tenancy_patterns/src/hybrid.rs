//! Some here, some there: small tenants share tables, large ones have databases of their own. The registry
//! knows who is where, so the code that works for a tenant goes by its name.

use anyhow::{Context as _, Result, ensure};
use cloacina::ErrorKind;
use cloacina::data::sea_orm::{ActiveValue::Set, EntityTrait};
use cloacina::tenants::{Placement, TenantManager};
use uuid::Uuid;

use crate::model::{data, user};
use crate::placement::{administrator, app_login, login};

#[derive(Debug, Clone, Copy)]
enum Size {
    Small,
    Large,
}

/// The operator's rule.
fn placement(size: Size) -> Placement {
    match size {
        Size::Small => Placement::Shared,
        Size::Large => Placement::Database,
    }
}

fn customers() -> impl Iterator<Item = (String, Size)> {
    let small = (1..=10).map(|number| (format!("patterns-small-{number}"), Size::Small));
    small.chain((1..=2).map(|number| (format!("patterns-large-{number}"), Size::Large)))
}

pub(crate) async fn show(url: &str, admin_url: &str) -> Result<()> {
    let admin = administrator(admin_url);
    admin.allow_operator(login(url)).await?;
    let (app, password) = app_login(&admin, admin_url).await?;
    let tenants = TenantManager::postgres(url)
        .administrator(admin)
        .data(&data()?.app_login(&app, &password))
        .build()
        .await?;
    for (name, size) in customers() {
        match tenants.provision_in(&name, placement(size)).await {
            // Made by an earlier run.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            made => drop(made?),
        }
    }

    // The same id everywhere: nobody's row is in another's way.
    let id = Uuid::from_u128(1);
    for (name, _) in customers() {
        let db = tenants.runner(&name).await?.data()?;
        let only = user::ActiveModel {
            id: Set(id),
            name: Set(format!("The user of {name}")),
            email: Set("first@example.com".to_owned()),
            role: Set("admin".to_owned()),
        };
        db.run(async |tx| {
            user::Entity::delete_many().exec(tx).await?;
            user::Entity::insert(only).exec(tx).await?;
            Ok(())
        })
        .await?;
    }
    let (mut shared, mut databases) = (0, 0);
    for (name, size) in customers() {
        let found = tenants.placement(&name).await?;
        ensure!(found == placement(size), "{name} has {found}");
        let db = tenants.runner(&name).await?.data()?;
        let users = db.read(async |tx| Ok(user::Entity::find().all(tx).await?)).await?;
        let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
        ensure!(names == [format!("The user of {name}")], "{name} sees {names:?}");
        match size {
            Size::Small => shared += 1,
            Size::Large => databases += 1,
        }
    }
    println!("{shared} small tenants share tables, {databases} large ones have databases of their own");
    println!("✓ Each of them sees its own user and no other");
    tenants.shutdown_all().await.context("the tenants were not shut down")
}
